"""Any encoder on a suite of tasks: `run.bench`, behind `alumnus bench`."""
