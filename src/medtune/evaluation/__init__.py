"""Score models on multiple-choice questions: exams, option scores and answer parsing."""
