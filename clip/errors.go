package clip

import "fmt"

// A KindError says that a folder's config.json is that of another kind of model than the one asked
// for. It is what Load, LoadModel, LoadText, their variants for an fs.FS and ReadTextConfig return;
// errors.As finds it. A caller can ask for another folder. Where ModelType is "clip_text_model" and
// Want is "CLIPModel", LoadText reads the folder's text encoder; there is none for pictures.
type KindError struct {
	ModelType string // model_type of config.json, such as "siglip"; "" where it has none
	Want      string // the class of transformers that was asked for: "CLIPModel" or "CLIPTextModel"
}

// Error names the model type where it is not CLIP's, and otherwise what config.json lacks.
func (e *KindError) Error() string {
	if isCLIP(e.ModelType) {
		return fmt.Sprintf("clip: %s has no text_config or no vision_config: it is no %s's",
			configFile, e.Want)
	}
	return fmt.Sprintf("clip: %s: model_type: %q is not supported", configFile, e.ModelType)
}

// A VocabularyError says that a token id is not in a model's vocabulary: the tokenizer belongs to
// another model. It is what TextModel.Set and Encoder.TextFeatures return; errors.As finds it. A
// caller can load the tokenizer that lies with the model.
type VocabularyError struct {
	ID         int // of the token
	Vocabulary int // of the model: ids are 0 to Vocabulary-1
}

// Error names the id and the size of the vocabulary.
func (e *VocabularyError) Error() string {
	return fmt.Sprintf("clip: token id %d is not in the model's vocabulary of %d",
		e.ID, e.Vocabulary)
}

// A PictureError says which of several pictures cannot be encoded. It is what the ImageFeatures of
// an Encoder and of a Cache return; errors.As finds it. A caller can leave the picture out and ask
// for the features of the others.
type PictureError struct {
	Index int   // of the picture, from 0, among those that were given
	Err   error // why it cannot be encoded
}

// Error names the picture and why it cannot be encoded.
func (e *PictureError) Error() string { return fmt.Sprintf("%v (picture %d)", e.Err, e.Index) }

// Unwrap returns why the picture cannot be encoded.
func (e *PictureError) Unwrap() error { return e.Err }
