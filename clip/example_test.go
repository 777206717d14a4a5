package clip_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"log"

	"github.com/kudos-ml/kudos/clip"
)

// Prompts and pictures meet in one space, where the dot product of two rows is the cosine between
// them. The folder is one that transformers wrote, of random weights.
func ExampleEncoder() {
	encoder, err := clip.Load("../testdata/golden/sd1/clip")
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()
	ctx := context.Background()
	texts, err := encoder.TextFeatures(ctx, []string{"a green dog", "two red dogs"})
	if err != nil {
		log.Fatal(err)
	}
	green := image.NewRGBA(image.Rect(0, 0, 100, 80)) // resized and cut as CLIP wants it
	paint := image.NewUniform(color.RGBA{G: 200, A: 255})
	draw.Draw(green, green.Bounds(), paint, image.Point{}, draw.Src)
	pictures, err := encoder.ImageFeatures(ctx, []image.Image{green})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("texts", texts.Shape(), "pictures", pictures.Shape())
	var length float32
	for _, v := range pictures.Float32s() {
		length += v * v
	}
	fmt.Printf("a picture's length: %.3f\n", length)
	// Output:
	// texts (2, 12) pictures (1, 12)
	// a picture's length: 1.000
}
