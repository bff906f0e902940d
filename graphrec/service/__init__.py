"""The recommender over HTTP; needs the extra `serve`."""
