"""Speed against peers and against the machine's limit; see RESULTS.md."""
