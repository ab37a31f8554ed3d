"""One module a verb of `mimo-data`; none loads more than argparse before it runs."""
