"""Entry point of `python -m chatfeedback`: the command `chatfeedback`."""

from chatfeedback.cli import main

if __name__ == "__main__":
    main()
