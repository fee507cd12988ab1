"""The application: the command line, the text that it reads, and the folders that it writes."""
