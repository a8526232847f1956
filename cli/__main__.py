"""`python -m cli`: the `graywave` command without an installed script."""

from cli.main import main

if __name__ == "__main__":
    main(prog_name="graywave")
