"""The survey: published adaptation methods and ours, each in a file of its own behind one interface."""
