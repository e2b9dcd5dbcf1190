"""`python -m chatfeedback` is the command `chatfeedback`."""

from chatfeedback.cli import main

if __name__ == "__main__":
    main()
