"""Functions of many networks at many times, whatever they compute."""
