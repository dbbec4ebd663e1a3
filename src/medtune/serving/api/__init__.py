"""JSON routes: answers, reviews, the OpenAI form."""
