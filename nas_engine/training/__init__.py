"""Training: recipes, augmentation, distillation, teachers and network files. Needs torch."""
