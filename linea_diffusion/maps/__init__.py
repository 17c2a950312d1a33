"""Maps: what was learned for the activations of one model, as an object, as files and on the Hub.

    steering_maps (the set and its algebra) -> storage -> packing, unpacking, config_file, facts, card; hub

Imports steering and, for files, concepts.
"""
