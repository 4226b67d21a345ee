"""Several runs that answer one question: folds, ensembles, comparisons."""
