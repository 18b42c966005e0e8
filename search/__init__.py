"""The offline side: from labelled faces to a model that can be served.

A module of a package may use those of its own package, of the packages before it here, and those
beside them: `errors`, `stop`, `claim`, `duration`. `config` names networks, recipes and searches:

- `data`: FER2013 in memory and its faults
- `training`: the training of one network
- `evaluation`: what a network is worth
- `study`: a search over many networks, by many workers
- `retraining`: from a configuration to an artifact
- `ablation`: what each idea is worth
- `report`: pages, tables and pictures
- `commands`: the commands of `python -m search`
"""
