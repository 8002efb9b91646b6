"""Files that corpora come in: rows of tables, Kaldi's folders."""
