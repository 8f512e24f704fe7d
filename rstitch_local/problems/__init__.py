"""Problem files in, graded answers out, in a run folder that resumes."""
