"""Real files through the deployed stack, judged by decoders that share no code with it."""
