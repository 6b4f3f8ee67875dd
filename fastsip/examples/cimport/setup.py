"""Build the extension beside this file: python setup.py build_ext --inplace, where fastsip and Cython are installed."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastsip

setup(name="count", ext_modules=cythonize([Extension("count", ["count.pyx"], include_dirs=[fastsip.get_include()])]))
