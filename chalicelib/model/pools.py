"""Pools of workers: which Lambda carries out a task. A kind of work (model/work.py) names its pool.

A pool is chosen by what work needs of a machine. Each has a queue and a Lambda of its name. Their memory and
timeouts are in .chalice/config.json, rights in infra/stack/functions.py, layers and concurrency in
infra/stack/catalogue.py.
"""

PICTURES = "pictures"  # two cores, for Pillow and for a few frames of a film
ENCODE = "encode"  # all the cores that a Lambda can have
AUDIO = "audio"  # one core, and a disk that holds a film
PACKAGE = "package"  # neither decoder nor disk
POOLS = (PICTURES, ENCODE, AUDIO, PACKAGE)
