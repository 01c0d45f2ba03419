"""`python -m ollama_fleet`: the same as `fleet`."""

from ollama_fleet.cli import main

main()
