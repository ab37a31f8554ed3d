"""Where documents come from: folders, archives, tables, data sets, repositories; `page.py` says what readers give."""
