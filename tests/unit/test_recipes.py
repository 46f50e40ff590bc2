"""Pipelines and recipes: what can be asked for, every way to ask wrongly, and which recipe counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from chalicelib.api.recipes import list_recipes
from chalicelib.errors import JobError, Unprocessable
from chalicelib.model.facts import ImageFacts, VideoFacts
from chalicelib.model.picture import Picture
from chalicelib.model.work import Poster
from chalicelib.operations import PRESETS
from chalicelib.operations.choosing import Asked, check, choose, choose_if_known, items_of
from chalicelib.operations.pipelines import MOST_BYTES, are_known, canonical, find_steps
from chalicelib.operations.recipes import Book, InvalidRecipes, read_book
from chalicelib.settings import recipes
from infra.tools import describe_recipes
from testing.planned import DEFAULTS, FILM

FIXTURES = Path(__file__).parent.parent / "fixtures"
PHOTO = ImageFacts("JPEG", 4000, 3000)
NAMES = "thumbnail, watermark, transcode_720p, hls_720p"


def wrong(*items: Any) -> list[tuple[str, str, str]]:
    """Code, pointer and sentence of each fault of a pipeline."""
    with pytest.raises(Unprocessable) as refused:
        find_steps(items, Unprocessable)
    return [(refused.value.code, each.pointer, each.detail) for each in refused.value.faults]


class Wrong(msgspec.Struct):
    """A step with one fault: the fault's place in it, and the sentence."""

    step: dict[str, Any]
    place: str
    sentence: str


FAULTS = msgspec.json.decode((FIXTURES / "wrong_steps.json").read_bytes(), type=list[Wrong])


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_an_object_has_its_place_and_its_sentence(fault: Wrong) -> None:
    told = [each[1:] for each in wrong("thumbnail", fault.step)]
    assert told == [(f"#/pipeline/1{fault.place}", fault.sentence)]


def test_all_faults_of_a_pipeline_are_told_at_once() -> None:
    image = {"make": "image", "box": 5, "fit": "covr", "formts": ["webp"]}
    found = wrong("thumbnial", image, 5, {"make": "hls", "ladder": ["720"]})
    assert [(code, pointer) for code, pointer, _ in found] == [
        ("unknown_step", "#/pipeline/0"),
        ("unknown_step", "#/pipeline/1/box"),
        ("unknown_step", "#/pipeline/1/fit"),
        ("unknown_step", "#/pipeline/1/formts"),
        ("unknown_step", "#/pipeline/2"),
        ("unknown_step", "#/pipeline/3/ladder/0"),
    ]


def test_names_that_there_are_not_are_told_with_what_was_probably_meant() -> None:
    assert wrong("thumbnial")[0][2] == "There is no step 'thumbnial'; did you mean 'thumbnail'?"
    assert wrong("mp4")[0][2] == 'There is no step \'mp4\'; did you mean {"make": "mp4"}?'
    assert wrong("sepia")[0][2] == f"There is no step 'sepia'. The presets are: {NAMES}."


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ("thumbnail", "thumbnail", "#/pipeline/1"),
        ({"make": "mp4"}, {"make": "mp4", "height": 480}, "#/pipeline/1/name"),
        ({"make": "mp4", "name": "thumbnail"}, "thumbnail", "#/pipeline/1"),
        ("hls_720p", {"make": "hls", "ladder": [480]}, "#/pipeline/1/name"),
        ({"make": "image", "name": "a"}, {"make": "image", "name": "a_320"}, "#/pipeline/1/name"),
        ({"make": "image", "name": "a_320"}, {"make": "image", "name": "a"}, "#/pipeline/1/name"),
    ],
)
def test_no_two_steps_have_the_same_name_or_could_have_the_same_files(
    first: Any, second: Any, place: str
) -> None:
    assert [each[:2] for each in wrong(first, second)] == [("repeated_step", place)]


def test_a_job_has_one_stream_for_now() -> None:
    for ladder in ([720], [480]):
        stream = {"make": "hls", "ladder": ladder, "name": "b"}
        assert [each[:2] for each in wrong("hls_720p", stream)] == [
            ("repeated_step", "#/pipeline/1/name")
        ]


def test_an_object_of_many_names_is_refused_at_once() -> None:
    many = {"make": "image", **{f"p{number}": 1 for number in range(30_000)}}
    assert [each[:2] for each in wrong(many)] == [("invalid_step", "#/pipeline/0")]


def test_a_pipeline_is_of_bounded_size() -> None:
    many = [{"make": "poster", "name": f"p{number}"} for number in range(17)]
    assert [each[:2] for each in wrong(*many)] == [("pipeline_too_long", "#/pipeline")]
    wide = [
        {"make": "image", "name": f"p{number}", "widths": list(range(16_000, 16_012))}
        for number in range(12)
    ]
    assert len(json.dumps(wide)) > MOST_BYTES
    assert [each[:2] for each in wrong(*wide)] == [("pipeline_too_long", "#/pipeline")]


def test_items_that_ask_for_the_same_are_equal_texts() -> None:
    first = {"make": "image", "formats": ["jpeg"], "box": 64, "focus": "center", "name": None}
    second = {"box": 64, "make": "image", "fit": "inside"}
    of_first, of_second = (
        canonical([step.item for step in find_steps([item], JobError)]) for item in (first, second)
    )
    assert of_first == of_second == ['{"box":64,"make":"image"}']


def test_what_another_version_accepts_may_be_unknown_here() -> None:
    assert are_known([])
    assert are_known(["thumbnail", {"make": "mp4"}])
    assert not are_known(["sepia"])
    assert not are_known([{"make": "image", "sepia": True}])


# ── what steps plan ─────────────────────────────────────────────────────────────────────────────


def picture(facts: ImageFacts, **parameters: Any) -> Picture:
    (step,) = find_steps([{"make": "image", **parameters}], JobError)
    return step.image(facts, DEFAULTS)


def sizes(made: Picture) -> list[tuple[str, int, int]]:
    return [(each.output, each.width, each.height) for each in made.variants]


def test_widths_multiply_with_formats() -> None:
    made = picture(PHOTO, widths=[640, 320], formats=["avif", "jpeg"])
    assert sizes(made) == [
        ("image_320.avif", 320, 240),
        ("image_320.jpg", 320, 240),
        ("image_640.avif", 640, 480),
        ("image_640.jpg", 640, 480),
    ]
    assert made.warning == ""


def test_nothing_is_enlarged() -> None:
    small = ImageFacts("JPEG", 500, 250)
    made = picture(small, widths=[320, 640, 1280])
    assert sizes(made) == [("image_320.jpg", 320, 160), ("image_500.jpg", 500, 250)]
    assert (
        made.warning
        == "It is 500 pixels wide, and was not enlarged: there is none of width 640, 1280."
    )
    assert sizes(picture(small, widths=[500, 600])) == [("image_500.jpg", 500, 250)]
    assert sizes(picture(small, box=512)) == [("image.jpg", 500, 250)]
    assert sizes(picture(small, size=[1000, 1000])) == [("image.jpg", 500, 250)]
    covered = picture(small, size=[1000, 1000], fit="cover")
    assert sizes(covered) == [("image.jpg", 250, 250)]
    assert "not enlarged to fill 1000 × 1000" in covered.warning
    # What is around it is not the picture.
    assert sizes(picture(small, size=[1000, 800], fit="contain")) == [("image.jpg", 1000, 800)]


@pytest.mark.parametrize(("fit", "size"), [("inside", (400, 300)), ("cover", (400, 400))])
def test_a_size_is_filled_or_fitted_in(fit: str, size: tuple[int, int]) -> None:
    assert sizes(picture(PHOTO, size=[400, 400], fit=fit)) == [("image.jpg", *size)]


def test_qualities_are_of_each_format() -> None:
    made = picture(PHOTO, formats=["jpeg", "avif"], quality={"avif": 40})
    assert [each.quality for each in made.variants] == [85, 40]
    made = picture(PHOTO, formats=["jpeg", "avif"], quality=70)
    assert [each.quality for each in made.variants] == [70, 70]


def test_the_mark_is_the_stages_but_for_what_is_said() -> None:
    assert picture(PHOTO).mark is None
    assert picture(PHOTO, watermark=True).mark == DEFAULTS.mark
    made = picture(PHOTO, watermark={"position": "center", "scale": 0.5})
    assert made.mark == msgspec.structs.replace(DEFAULTS.mark, position="center", scale=0.5)


def test_presets_are_operations() -> None:
    thumbnail, watermark, *_ = PRESETS
    assert sizes(thumbnail.image(PHOTO, DEFAULTS)) == [("thumb.jpg", 512, 384)]
    made = watermark.image(PHOTO, DEFAULTS)
    assert sizes(made) == [("wm.jpg", 4000, 3000)]
    assert (made.mark, made.variants[0].quality) == (DEFAULTS.mark, 90)


def test_steps_say_what_they_are_for() -> None:
    (poster,) = find_steps([{"make": "poster"}], JobError)
    with pytest.raises(JobError, match="poster needs a video, but the file is an image"):
        poster.image(PHOTO, DEFAULTS)
    (image,) = find_steps([{"make": "image"}], JobError)
    with pytest.raises(JobError, match="image needs an image, but the file is a video"):
        image.video(FILM, DEFAULTS)


def poster(facts: VideoFacts, **parameters: Any) -> Poster:
    (step,) = find_steps([{"make": "poster", **parameters}], JobError)
    made = step.video(facts, DEFAULTS)
    assert isinstance(made, Poster)
    return made


def test_a_poster_of_a_time_behind_the_film_is_of_its_last_frame() -> None:
    made = poster(FILM, at=1e6, widths=[320])
    assert (
        f"The film ends after {FILM.seconds:.3f} s: the poster is its last frame."
        in made.picture.warning
    )
    assert poster(FILM, at="50%").picture.warning == ""


# ── recipes ─────────────────────────────────────────────────────────────────────────────────────

BOOK = """
version = 1
[recipes.default]
image = ["thumbnail"]
video = ["hls_720p"]
[recipes.web]
image = [{ make = "image", widths = [320] }]
[[drops]]
prefix = "inbox/"
recipe = "default"
[[drops]]
prefix = "inbox/web/"
recipe = "web"
"""
BOTH = read_book(BOOK)
JPEG_HEAD = b"\xff\xd8\xff\xe0"


def items(asked: Asked, metadata: dict[str, str], key: str, book: Book = BOTH) -> tuple[Any, str]:
    chosen = choose(asked, metadata, key, "image", book)
    return [step.item for step in chosen.steps], chosen.recipe.partition("@")[0]


def test_which_recipe_counts() -> None:
    web, thumbnail = [{"make": "image", "widths": [320]}], ["thumbnail"]
    told = {"pipeline": "watermark"}
    assert items(Asked(["thumbnail"]), told, "inbox/web/a") == (thumbnail, "")
    assert items(Asked(recipe="web"), told, "a") == (web, "web")
    assert items(Asked(), told, "inbox/web/a") == (["watermark"], "")
    assert items(Asked(), {"pipeline": json.dumps(web)}, "a") == (web, "")
    assert items(Asked(), {"recipe": "web"}, "inbox/a") == (web, "web")
    assert items(Asked(), {}, "inbox/web/a") == (web, "web")
    assert items(Asked(), {}, "inbox/a") == (thumbnail, "default")
    assert items(Asked(), {}, "a") == (thumbnail, "default")


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"recipe": "wep"}, "unknown_recipe"),
        ({"recipe": "web", "pipeline": "thumbnail"}, "recipe_and_pipeline"),
        ({"pipeline": "[1,"}, "invalid_step"),
        ({"pipeline": "[" * 5000}, "invalid_step"),
        ({"pipeline": r'[{"make":"\ud800"}]'}, "invalid_step"),
        ({"pipeline": '[{"make":"poster","at":1e999}]'}, "invalid_step"),
        ({"pipeline": "sepia"}, "unknown_step"),
    ],
)
def test_metadata_that_cannot_be_followed_fails_the_job(
    metadata: dict[str, str], code: str
) -> None:
    with pytest.raises(JobError) as refused:
        choose(Asked(), metadata, "a", "image", BOTH)
    assert refused.value.code == code
    # A job for it is made all the same: it ends with that sentence.
    assert choose_if_known(Asked(), metadata, "a", JPEG_HEAD, BOTH) == Asked()


def test_a_recipe_that_makes_nothing_of_a_kind_says_so() -> None:
    with pytest.raises(JobError, match="'web' makes nothing of a video"):
        choose(Asked(recipe="web"), {}, "a", "video", BOTH)


def test_a_recipes_version_is_of_what_it_makes() -> None:
    described = BOOK.replace("[recipes.web]", '[recipes.web]\ndescription = "For a page"')
    spelt = BOOK.replace("widths = [320]", 'widths = [320], formats = ["jpeg"]')
    edited = BOOK.replace("[320]", "[640]")
    version = BOTH.version_of("web")
    assert read_book(described).version_of("web") == read_book(spelt).version_of("web") == version
    assert read_book(edited).version_of("web") != version
    assert read_book(edited).version_of("default") == BOTH.version_of("default")


def test_every_fault_of_a_book_is_told() -> None:
    text = """
version = 1
[recipes.web]
image = [{ make = "image", width = [320] }, "hls_720p"]
video = [{ make = "image" }, "sepia"]
[[drops]]
prefix = "a/"
recipe = "wep"
"""
    with pytest.raises(InvalidRecipes) as invalid:
        read_book(text)
    assert [(fault.pointer, fault.detail) for fault in invalid.value.faults] == [
        (
            "#/recipes/web/image/0/width",
            "There is no parameter 'width' of 'image'; did you mean 'widths'?",
        ),
        ("#/recipes/web/video/1", f"There is no step 'sepia'. The presets are: {NAMES}."),
        ("#/recipes", "There is no recipe 'default', for files that name none."),
        ("#/drops/0/recipe", "There is no recipe 'wep'; did you mean 'web'?"),
    ]


def test_a_recipe_has_steps_for_its_kind() -> None:
    with pytest.raises(InvalidRecipes) as invalid:
        read_book('version = 1\n[recipes.default]\nimage = ["hls_720p"]')
    assert [fault.pointer for fault in invalid.value.faults] == ["#/recipes/default/image/0"]


@pytest.mark.parametrize("text", ["version = 2\n[recipes]", "version = 1", "x", 'version = "1"'])
def test_what_is_no_book_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecipes):
        read_book(text)


def test_a_request_names_one_of_the_two() -> None:
    assert check(None, None, BOTH, Unprocessable) == Asked()
    assert check(None, "web", BOTH, Unprocessable) == Asked(recipe="web")
    assert check(["thumbnail"], None, BOTH, Unprocessable) == Asked(("thumbnail",))
    with pytest.raises(Unprocessable, match="one of them is enough"):
        check(["thumbnail"], "web", BOTH, Unprocessable)
    with pytest.raises(Unprocessable, match="no recipe 'wep'; did you mean 'web'"):
        check(None, "wep", BOTH, Unprocessable)


def test_a_text_is_names_or_json() -> None:
    assert items_of(" thumbnail , watermark,", JobError) == ["thumbnail", "watermark"]
    assert items_of(' [{"make": "mp4"}]', JobError) == [{"make": "mp4"}]
    assert items_of("", JobError) == []


def test_the_shipped_recipes_are_right_and_their_schema_takes_them() -> None:
    shown = list_recipes()
    assert [recipe.name for recipe in shown.recipes] == ["default", "web"]
    assert read_book(recipes()).drops == []
    validator = Draft202012Validator(shown.schema)
    Draft202012Validator.check_schema(shown.schema)
    for recipe in shown.recipes:
        for pipeline in (recipe.image, recipe.video):
            validator.validate(pipeline)


def test_the_page_has_the_parameters_that_there_are() -> None:
    page = describe_recipes.PAGE.read_text()
    assert describe_recipes.described(page) == page, "python -m infra.tools.describe_recipes"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_schema_refuses_what_a_schema_can(fault: Wrong) -> None:
    beyond = (
        "once is enough",
        "can be said",
        "needs a `size`",
        "is of `cover`",
        "in `formats`",
        "'gif'. It can be",  # names of an object are nothing that msgspec's schemas say
        "own:",
    )
    by_schema = not Draft202012Validator(list_recipes().schema).is_valid([fault.step])
    assert by_schema != any(phrase in fault.sentence for phrase in beyond)
