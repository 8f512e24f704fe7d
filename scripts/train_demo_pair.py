"""Create the demo pair that is part of the package, one command per stage.

    python scripts/train_demo_pair.py tokenizer
    python scripts/train_demo_pair.py data slm        (and llm)
    python scripts/train_demo_pair.py train slm       (and llm; resumes from a checkpoint)
    python scripts/train_demo_pair.py export
    python scripts/train_demo_pair.py evaluate

All files except the exported ones are in the work folder (`--folder`, default `build/demo_pair`).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from rstitch_local import builtin

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {"slm": 400_000, "llm": 320_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "demo_pair")
    stages = parser.add_subparsers(dest="stage", required=True)
    stages.add_parser("tokenizer", help="learn the merges and write a GGUF file with the vocabulary")
    data = stages.add_parser("data", help="generate and tokenize the examples of one model")
    data.add_argument("role", choices=("slm", "llm"))
    data.add_argument("--examples", type=int, help="number of examples; default: 400,000 (slm), 320,000 (llm)")
    train = stages.add_parser("train", help="train one model, or resume from its checkpoint")
    train.add_argument("role", choices=("slm", "llm"))
    train.add_argument("--threads", type=int)
    train.add_argument("--learning-rate", type=float)
    train.add_argument("--tokens-per-step", type=int)
    train.add_argument("--stop-at", type=int, help="stop at this step")
    train.add_argument("--no-compile", action="store_true")
    export = stages.add_parser("export", help="export the checkpoints to GGUF and compare their logits with torch")
    export.add_argument("--to", type=Path, default=builtin.FOLDER, help="folder for demo-slm.gguf and demo-llm.gguf")
    export.add_argument("--role", choices=("slm", "llm"), action="append", help="export this model only")
    evaluate = stages.add_parser("evaluate", help="measure accuracy, length and speed with this project's engine")
    evaluate.add_argument("--files", type=Path, default=builtin.FOLDER, help="folder with the two GGUF files")
    evaluate.add_argument("--problems", type=int, default=500)
    evaluate.add_argument("--router", action="append", help="may be repeated; default: slm, llm and five values of tau")
    examples = stages.add_parser("examples", help="write the example problem file")
    examples.add_argument("--out", type=Path, default=ROOT / "examples" / "word_problems.jsonl")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stage = {
        "tokenizer": make_tokenizer, "data": make_data, "train": run_training,
        "export": run_export, "evaluate": run_evaluation, "examples": write_examples,
    }[options.stage]  # fmt: skip
    stage(options)


def make_tokenizer(options: argparse.Namespace) -> None:
    """Learn the merges from 30,000 training problems."""
    from demo_pair import data, export, tokenizer

    tokenizer.learn(data.tokenizer_texts(30_000), options.folder / "vocabulary.json")
    export.write_vocabulary_only(options.folder / "vocabulary.json", options.folder / "vocabulary.gguf")


def make_data(options: argparse.Namespace) -> None:
    """Write the examples of one role."""
    from demo_pair import data
    from demo_pair.tokenizer import Vocabulary

    count = options.examples or EXAMPLES[options.role]
    data.write(options.role, count, Vocabulary(options.folder / "vocabulary.gguf"), options.folder)


def run_training(options: argparse.Namespace) -> None:
    """Train one role with its recipe and the changes of the command line."""
    from demo_pair import data, training
    from demo_pair.tokenizer import Vocabulary

    from rstitch_local.builtin import word_problems

    (options.folder / f"{options.role}.pid").write_text(str(os.getpid()))
    vocabulary = Vocabulary(options.folder / "vocabulary.gguf")
    recipe = training.RECIPES[options.role]
    changes = {"threads": options.threads, "tokens_per_step": options.tokens_per_step}
    changes |= {"learning_rate": options.learning_rate, "embedding_rate": options.learning_rate}
    recipe = dataclasses.replace(recipe, **{key: value for key, value in changes.items() if value is not None})
    problems = [word_problems.generate(data.VALIDATION_SEED, i) for i in range(recipe.validation_problems)]
    questions = [(vocabulary.encode(data.prompt_text(p.question)), p.answer) for p in problems]
    end = vocabulary.encode("<|im_end|>")[0]
    training.train(
        recipe, data.read(options.role, options.folder), questions, vocabulary.decode, end, len(vocabulary),
        options.folder, stop_at=options.stop_at, compiled=not options.no_compile,
    )  # fmt: skip


def run_export(options: argparse.Namespace) -> None:
    """Write one GGUF file per role; print its size and the difference of its logits to torch."""
    from demo_pair import agreement, data, export, training
    from demo_pair.tokenizer import Vocabulary

    from rstitch_local.builtin import word_problems

    vocabulary = Vocabulary(options.folder / "vocabulary.gguf")
    texts = []
    for index in range(20):
        problem = word_problems.generate(data.VALIDATION_SEED, index)
        answer = problem.long_solution if index % 2 else problem.short_solution
        texts.append(vocabulary.encode(data.prompt_text(problem.question) + answer))
    for role in options.role or ("slm", "llm"):
        model, step = training.load(options.folder / f"{role}.pt")
        path = options.to / f"demo-{role}.gguf"
        export.write_model(model, options.folder / "vocabulary.json", path, f"rstitch-local demo {role.upper()}")
        worst, equal = agreement.differences(model, path, texts)
        parameters = sum(weight.numel() for weight in model.parameters())
        print(
            f"{path.name}: step {step}, {parameters:,} parameters, {path.stat().st_size:,} bytes; "
            f"largest logit difference to torch {worst:.3f}, equal arg-maxes {equal:.2%}"
        )


def run_evaluation(options: argparse.Namespace) -> None:
    """Print a Markdown table with a row per router."""
    from demo_pair import evaluation

    pair = evaluation.open_pair(options.files / "demo-slm.gguf", options.files / "demo-llm.gguf")
    print(evaluation.HEADING, flush=True)
    for router in options.router or ("slm", "llm", *(f"entropy:{tau}" for tau in (0.001, 0.005, 0.02, 0.05, 0.1))):
        print(evaluation.row(evaluation.evaluate(pair, router, options.problems)), flush=True)


def write_examples(options: argparse.Namespace) -> None:
    """Write 24 problems of the examples seed as JSON Lines with id, question and answer."""
    import json

    from rstitch_local.builtin import word_problems

    problems = [word_problems.generate(word_problems.EXAMPLES_SEED, index) for index in range(24)]
    records = [
        {"id": f"demo-{i + 1:02}", "question": problem.question, "answer": str(problem.answer)}
        for i, problem in enumerate(problems)
    ]
    options.out.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
