"""The command line: ``placewright <noun> <verb>``. Data goes to stdout, progress and remarks to stderr."""
