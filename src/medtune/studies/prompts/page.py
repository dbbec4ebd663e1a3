"""Render the page of the prompt study."""

from __future__ import annotations

from medtune.reports.templating import render_page
from medtune.studies.prompts.schema import PromptStudyRecord


def render(record: PromptStudyRecord) -> str:
    """Render the page: verdict, both accuracies on the reported split, every prompt."""
    return render_page("studies/prompts.html", study=record)
