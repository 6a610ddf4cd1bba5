"""Backbones from timm and their weights."""
