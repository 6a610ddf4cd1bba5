"""Many runs that answer one question: cross-validation, and the paper's table."""
