"""Maps: what was learned for the activations of one model, as an object, as files and on the Hub.

    steering_maps (the set and its algebra), file_methods -> storage -> packing, unpacking, config_file, facts, card
    hub; lora/ (files for other programs, and back); plain_tensors, description

Imports steering and, for files, concepts.
"""
