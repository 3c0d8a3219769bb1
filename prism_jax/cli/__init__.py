"""One module per subcommand of `prism`: its options, and `run(options)`, which returns the exit code."""
