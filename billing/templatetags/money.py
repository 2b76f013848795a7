"""Filters that show nano-dollars and wei the way the design asks for."""

from django import template

register = template.Library()
