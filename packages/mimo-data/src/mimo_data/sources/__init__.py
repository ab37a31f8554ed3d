"""Where documents come from: folders, archives, tables, data sets, repositories."""
