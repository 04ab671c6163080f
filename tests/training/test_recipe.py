"""Recipes: the shipped ones, round trips, and refusals in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas_engine.errors import FileFormatError, InputError, PathError, UnknownNameError
from nas_engine.strict_yaml import parse_mapping
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.recipe import (
    SHIPPED,
    Distillation,
    TrainingRecipe,
    dump_recipe,
    load_recipe,
    recipe_from_mapping,
    recipe_names,
)
from tests.training.tasks import small_recipe


class TestShipped:
    def test_names(self) -> None:
        assert recipe_names() == ("cifar", "digits", "photos")

    @pytest.mark.parametrize("name", recipe_names())
    def test_loads_and_says_where_it_comes_from(self, name: str) -> None:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert load_recipe(str(SHIPPED / f"{name}.yaml")) == recipe
        assert recipe.float_epochs > 0 < recipe.quantised_epochs
        mapping = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
        assert mapping["title"]
        assert mapping["source"]


class TestRoundTrip:
    @pytest.mark.parametrize(
        "recipe",
        [
            *map(load_recipe, recipe_names()),
            small_recipe(
                name="mine: a 'test'",
                optimiser="adamw",
                mixup=0.2,
                step_init="paper",
                augmentation=Augmentation(kind="resized-crop", smallest_area=0.1),
                distillation=Distillation(weight=1.0, temperature=2, features=3.5),
            ),
            TrainingRecipe(name="1", epochs=1),
        ],
        ids=lambda recipe: recipe.name,
    )
    def test_dump_and_read(self, tmp_path: Path, recipe: TrainingRecipe) -> None:
        text = dump_recipe(recipe)
        assert recipe_from_mapping(parse_mapping(text, "x"), "x") == recipe
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        assert load_recipe(str(file)) == recipe

    def test_missing_keys_have_the_defaults_and_the_name_of_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "brief"
        file.write_text("epochs: 3\naugmentation: {kind: none}\n", encoding="utf-8")
        assert load_recipe(str(file)) == TrainingRecipe(
            name="brief", epochs=3, augmentation=Augmentation(kind="none")
        )


class TestEpochs:
    @pytest.mark.parametrize(
        ("epochs", "share", "expected"),
        [
            (10, 0.5, 5),
            (10, 0.0, 0),
            (10, 1.0, 10),
            (10, 0.001, 1),
            (10, 0.999, 9),
            (7, 0.6, 4),
            (2, 0.9, 1),
            (1, 0.9, 0),
            (1, 0.5, 0),
            (1, 0.1, 0),
            (1, 1.0, 1),
            (1, 0.0, 0),
            (1, 1, 1),
        ],
    )
    def test_stages(self, epochs: int, share: float, expected: int) -> None:
        recipe = small_recipe(epochs=epochs, float_share=share)
        assert recipe.float_epochs == expected
        assert recipe.float_epochs + recipe.quantised_epochs == epochs

    @pytest.mark.parametrize(
        ("images", "batch", "fewest", "expected"),
        [
            (50_000, 128, 60, 128),
            (7680, 128, 60, 128),
            (7679, 128, 60, 64),
            (1000, 128, 60, 32),
            (10, 128, 60, 32),
            (10, 48, 60, 48),
            (10, 128, 0, 128),
        ],
    )
    def test_few_images_get_smaller_batches(
        self, images: int, batch: int, fewest: int, expected: int
    ) -> None:
        recipe = small_recipe(batch_size=batch, fewest_steps=fewest)
        assert recipe.for_images(images) == replace(recipe, batch_size=expected)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("epoch: 3", "unknown key: 'epoch'; did you mean 'epochs'?"),
            ("name: x", "epochs: is missing; add it"),
            ("epochs:", "epochs: is None; expected a whole number from 1 to 100,000"),
            ("epochs: 0", "epochs: is 0; expected a whole number from 1 to 100,000"),
            ("epochs: 1e9", "epochs: is 1000000000.0; expected a whole number from 1 to 100,000"),
            ("epochs: true", "epochs: is True; expected"),
            (f"epochs: {10**400}", "expected a whole number from 1 to 100,000"),
            (
                "epochs: 3\nlerning_rate: 1",
                "unknown key: 'lerning_rate'; did you mean 'learning_rate'?",
            ),
            ("epochs: 3\nname: 5", "name: is 5; expected a text"),
            (
                "epochs: 3\nbatch_size: 1",
                "batch_size: is 1; expected a whole number from 2 to 65,536",
            ),
            ("epochs: 3\nbatch_size: 2.0", "batch_size: is 2.0; expected a whole number"),
            (
                "epochs: 3\nlearning_rate: 0",
                "learning_rate: is 0; expected a number from 1e-09 to 100",
            ),
            ("epochs: 3\nlearning_rate: .nan", "learning_rate: is nan; expected"),
            ("epochs: 3\nlearning_rate: .inf", "learning_rate: is inf; expected"),
            (
                "epochs: 3\nlearning_rate: yes",
                "learning_rate: is 'yes'; expected a number from 1e-09 to 100 without quotes",
            ),
            ("epochs: 3\nlearning_rate: [1]", "learning_rate: is [1]; expected"),
            (f"epochs: 3\nlearning_rate: {10**400}", "expected a number from 1e-09 to 100"),
            (
                "epochs: 3\nweight_decay: '5e-4'",
                "weight_decay: is '5e-4'; expected a number from 0 to 1 without quotes",
            ),
            (
                "epochs: 010",
                (
                    "line 1, column 9: 010 begins with a zero, which makes it octal in YAML 1.1; "
                    "write 10, or '010' for a text"
                ),
            ),
            ("epochs: 3\nfloat_share: 1.5", "float_share: is 1.5; expected a number from 0 to 1"),
            ("epochs: 3\nema_decay: -0.1", "ema_decay: is -0.1; expected"),
            ("epochs: 3\nmixup:", "mixup: is None; expected"),
            (
                "epochs: 3\noptimiser: adam",
                "unknown value for optimiser: 'adam'; did you mean 'adamw'?",
            ),
            ("epochs: 3\noptimiser: [sgd]", "optimiser: is ['sgd']; expected a text"),
            (
                "epochs: 3\nstep_init: lsq",
                "unknown value for step_init: 'lsq'; expected one of: least-error, paper",
            ),
            ("epochs: 3\naugmentation:", "augmentation holds nothing; expected a mapping"),
            ("epochs: 3\naugmentation: crop", "augmentation holds a text; expected a mapping"),
            ("epochs: 3\naugmentation: {}", "augmentation.kind: is missing"),
            (
                "epochs: 3\naugmentation: {kind: crp}",
                "unknown value for augmentation.kind: 'crp'; did you mean 'crop'?",
            ),
            (
                "epochs: 3\naugmentation: {kind: crop, pading: 2}",
                "unknown key in augmentation: 'pading'; did you mean 'padding'?",
            ),
            (
                "epochs: 3\naugmentation: {kind: crop, padding: 999}",
                "augmentation.padding: is 999; expected",
            ),
            (
                "epochs: 3\naugmentation: {kind: [crop]}",
                "augmentation.kind: is ['crop']; expected a text",
            ),
            ("epochs: 3\ndistillation:", "distillation holds nothing; expected a mapping"),
            (
                "epochs: 3\ndistillation: {wait: 1}",
                "unknown key in distillation: 'wait'; did you mean 'weight'?",
            ),
            (
                "epochs: 3\ndistillation: {weight: 2}",
                "distillation.weight: is 2; expected a number from 0 to 1",
            ),
            ("epochs: 3\ndistillation: {weight: }", "distillation.weight: is None; expected"),
            (
                "epochs: 3\ndistillation: {temperature: 0}",
                "distillation.temperature: is 0; expected a number from 0.1 to 100",
            ),
            ("epochs: 3\nepochs: 4", "key 'epochs' stands twice"),
            ("", "holds nothing"),
            ("[3]", "holds a list"),
            ("{", "is not valid YAML"),
        ],
    )
    def test_files(self, tmp_path: Path, text: str, says: str) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(text + "\n", encoding="utf-8")
        with pytest.raises(FileFormatError) as caught:
            load_recipe(str(file))
        message = str(caught.value)
        assert message.startswith(f"{file}: ")
        assert says in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        "changes",
        [
            {"augmentation": None},
            {"distillation": {"weight": 1}},
            {"epochs": 3.0},
            {"name": " "},
            {"gradient_clip": 101},
        ],
    )
    def test_values(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="; expected "):
            small_recipe(**changes)

    def test_names(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownNameError, match="unknown recipe: 'cfar'; did you mean 'cifar'"):
            load_recipe("cfar")
        for name in ("n" * 5000, "a\0b"):
            with pytest.raises(UnknownNameError, match="unknown recipe"):
                load_recipe(name)
        for name in (f"{tmp_path}/none.yaml", str(tmp_path), ""):
            with pytest.raises(PathError, match=r"cannot be read|is a folder"):
                load_recipe(name)
