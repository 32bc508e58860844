"""Changes that happen to photos by themselves: noise, blur, weather, and what files do to them."""
