package tokenizer_test

import (
	"fmt"

	"github.com/kudos-ml/kudos/clip/tokenizer"
)

// A vocabulary of one's own: common words become one token, rare ones stay in pieces.
func ExampleTrain() {
	t, err := tokenizer.Train([]string{"two green dogs", "three green dogs", "two red dogs"}, 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	t.Length = 8
	for _, id := range t.Encode("Two green cats") {
		fmt.Print(t.Token(id), " ")
	}
	fmt.Println()
	// Output: <|startoftext|> two</w> green</w> c a t s</w> <|endoftext|>
}
