"""What lmms-eval finds by the entry point `lmms_eval.models`: where the model `vstream` is."""

from lmms_eval.models.registry_v2 import ModelManifest

MANIFEST = ModelManifest("vstream", chat_class_path="eval.lmms_eval.watching_model.WatchingModel")
