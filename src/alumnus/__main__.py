"""`python -m alumnus VERB …` is `alumnus VERB …`; torchrun starts it as `torchrun -m alumnus train recipe.yaml`."""

from __future__ import annotations

from alumnus.cli import main

if __name__ == "__main__":
    main()
