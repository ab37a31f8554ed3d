"""Where documents come from: folders, WARC archives, tables, data sets, repositories; `page.py` says what readers give."""
