"""From problem files to graded answers: reading, prompts, solving, grading, and run folders that can be resumed."""
