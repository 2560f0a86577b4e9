"""Configurations of every generation that dao-ai's optimization section has had, made of its field tables."""

MODELS = """\
resources:
  llms:  # the models
    small: &small {name: databricks-small, temperature: 0.1, max_tokens: 256, fallbacks: [databricks-other]}
    big: &big
      name: databricks-big
"""
SCHEMAS = """\
schemas:
  retail: &retail {catalog_name: main, schema_name: retail, permissions: [{principals: [users]}]}
"""
PROMPTS = """\
prompts:
  answer: &answer
    schema: *retail
    name: answer
    default_template: |
      You serve {user_id}.
      Answer kindly.
    tags: {team: a}
"""
AGENTS = """\
agents:
  helper: &helper
    name: helper
    model: *small  # what it answers with
    tools: [a, b]
    prompt: *answer
  inline: &inline {name: inline, model: *small, prompt: "Be kind to {user_id}."}
"""
BASE = SCHEMAS + MODELS + PROMPTS + AGENTS
CHATS = """\
  training_datasets:
    chats: &chats
      schema: *retail
      name: chats
      overwrite: true
      data:
      - inputs:
          messages: [{role: user, content: Which drill}]
          custom_inputs: {configurable: {user_id: me}}
        expectations: {expected_facts: [the blue one, it is light]}
"""

# The body of an entry, of each generation in its fullest and its barest form; one key a line.
A0 = ["prompt: *answer", "agent: *helper", "dataset_name: rows", "num_candidates: 5", "max_steps: 3"]
A = ["name: opt", "prompt: *answer", "agent: *helper", "dataset_name: rows"]
A_FULL = [*A, "reflection_model: *big", "num_candidates: 7", "max_steps: 2", "scorer_model: *big", "temperature: 0.0"]
A2 = ["name: opt", "prompt: *answer", "agent: helper", "dataset: rows"]
A2_FULL = [
    "name: opt",
    "prompt: *answer",
    "agent: *helper",
    "dataset: {name: rows, schema: *retail}",
    "reflection_model: databricks:/databricks-big",
    "num_candidates: 7",
    "max_steps: 2",
    "scorer_model: big",
    "temperature: 0.2",
]
B = ["name: opt", "agent: *helper", "dataset: rows"]
B_FULL = [
    "name: opt",
    "prompt: *answer",
    "agent: *helper",
    "dataset: *chats",
    "reflection_model: *big",
    "num_candidates: 50  # calls",
    "scorer_model: databricks:/databricks-big",
]
C = ["name: opt", "agent: *helper", "dataset: *chats"]
C_FULL = [
    "name: opt",
    "prompt: *answer",
    "agent: *helper",
    "dataset: *chats",
    "reflection_model: openai:/gpt-x",
    "num_candidates: 5",
]
SHAPES = {
    "A0": [A0],
    "A": [A, A_FULL],
    "A'": [A2, A2_FULL],
    "B": [B, B_FULL],
    "C": [C, C_FULL],
}
ALL = [(generation, body) for generation, bodies in SHAPES.items() for body in bodies]


def text_of(generation, *bodies, base=BASE, flow=False):
    """A whole file with an entry of each body, in the order given; keys are opt0, opt1, …"""
    level = "" if generation == "A0" else "  prompt_optimizations:\n"
    indent = "  " if generation == "A0" else "    "
    entries = []
    for number, body in enumerate(bodies):
        if flow:
            bare = ", ".join(line.partition("  #")[0] for line in body)
            entries.append(f"{indent}opt{number}: {{{bare}}}\n")
        else:
            lines = "".join(f"{indent}  {line}\n" for line in body)
            entries.append(f"{indent}# the entry {number}\n{indent}opt{number}:\n{lines}")
    datasets = "" if generation == "A0" else CHATS
    return f"{base}optimizations:\n{datasets}{level}{''.join(entries)}# the end\nstorage: {{root: here}}\n"
