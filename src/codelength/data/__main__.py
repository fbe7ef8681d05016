"""Print the table of named data sets for ``docs/data.md``: ``python -m codelength.data``."""

from codelength.data.table import table

if __name__ == "__main__":
    print(table())
