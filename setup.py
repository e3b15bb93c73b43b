"""Package metadata; the exact versions are in requirements.txt."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
    r'__version__ = "(.+)"', (_ROOT / "tff_cnn" / "__init__.py").read_text()
).group(1)

setuptools.setup(
    name="tff-cnn",
    version=_VERSION,
    description=(
        "Federated training of convolutional networks with differential "
        "privacy, on TensorFlow Federated."
    ),
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=setuptools.find_packages(
        include=["tff_cnn", "tff_cnn.*", "experiments", "experiments.*"]
    ),
    package_data={"experiments": ["*.flags", "**/*.flags", "**/*.ipynb"]},
    # Build files stay out of the top level; install.sh makes the folder.
    options={"egg_info": {"egg_base": ".build"}},
    install_requires=[
        "absl-py",
        "cachetools",
        "cryptography",
        "dp-accounting==0.4.3",
        "grpcio",
        "importlib-resources",  # Imported by tensorflow-datasets, not required.
        "matplotlib",
        "numpy<2",
        "pillow",
        "portpicker",
        "psutil",
        "pyarrow",
        "scikit-learn",
        "scipy",
        "tensorflow==2.14.1",
        "tensorflow-datasets==4.9.10",
        "tensorflow-federated==0.87.0",
        "tensorflow-privacy==0.9.0",
        "tqdm",
    ],
    extras_require={
        "test": [
            "hypothesis",
            "pytest",
            "pytest-xdist",
            "ruff",
            "tensorflow-empirical-privacy==0.1.0",
        ],
        # What TensorFlow 2.14's own and-cuda extra asks for, without TensorRT,
        # whose wheels cannot be installed any more and which is not used.
        "gpu": [
            "nvidia-cublas-cu11==11.11.3.6",
            "nvidia-cuda-cupti-cu11==11.8.87",
            "nvidia-cuda-nvcc-cu11==11.8.89",
            "nvidia-cuda-runtime-cu11==11.8.89",
            "nvidia-cudnn-cu11==8.7.0.84",
            "nvidia-cufft-cu11==10.9.0.58",
            "nvidia-curand-cu11==10.3.0.86",
            "nvidia-cusolver-cu11==11.4.1.48",
            "nvidia-cusparse-cu11==11.7.5.86",
            "nvidia-nccl-cu11==2.16.5",
        ],
        # Its membership inference needs statsmodels, and not the TensorFlow
        # models that .requirements/overrides.txt takes out.
        "audit": ["tensorflow-empirical-privacy==0.1.0"],
        "notebook": ["ipykernel", "nbclient", "notebook"],
    },
)
