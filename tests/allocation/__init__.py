"""Costs against their scalar references."""
