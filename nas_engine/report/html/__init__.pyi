"""Names of the package, one per line."""

from nas_engine.report.html import render as render
from nas_engine.report.html.document import Block as Block
from nas_engine.report.html.document import Page as Page
from nas_engine.report.html.document import Section as Section
from nas_engine.report.html.document import Sentence as Sentence
from nas_engine.report.html.document import Table as Table
from nas_engine.report.html.document import Tone as Tone
