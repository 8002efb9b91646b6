"""`python -m dragoman`, which torchrun and accelerate launch need."""

from dragoman.cli import main

if __name__ == "__main__":
    main()
