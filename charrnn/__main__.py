"""`python -m charrnn`."""

from charrnn.cli.start import main

if __name__ == "__main__":
    main()
