"""Filters that say what work is called; built into every template: `{{ charge.label|work_name:charge.kind }}`."""

from django import template

from billing import work

register = template.Library()
kind_word = register.filter(work.kind_word)
work_name = register.filter(work.work_name)
