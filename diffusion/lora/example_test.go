package lora_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels"
)

// An adapter is attached, trained as a finetune.Network, saved for diffusers, and, here or there,
// loaded and merged.
func Example() {
	config := unet.DefaultConfig()
	config.BlockOutChannels = []int{8, 16, 16, 16}
	config.NormNumGroups, config.CrossAttentionDim = 4, []int{12}
	network, err := unet.New(config)
	if err != nil {
		log.Fatal(err)
	}
	adapter, err := lora.New(network, lora.Config{Rank: 4, Alpha: 4, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	first := adapter.Trainable()[0].Name
	fmt.Println(len(adapter.Trainable()), "tensors to train; the first is")
	fmt.Println(first)
	dir, err := os.MkdirTemp("", "lora")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "pytorch_lora_weights.safetensors")
	if err := adapter.Save(file, kernels.Float32); err != nil {
		log.Fatal(err)
	}
	adapter.Detach()

	loaded, err := lora.Load(file, network, nil)
	if err != nil {
		log.Fatal(err)
	}
	loaded.Scale(0.8)
	loaded.Merge()
	// Output:
	// 256 tensors to train; the first is
	// down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
}
