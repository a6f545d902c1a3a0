"""Files that mean harm, made here and not kept: each with the code that it must get."""
